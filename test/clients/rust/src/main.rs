//! tokio-postgres and alloy: a pool that signs for each connection.
//!
//! Runs every line of standard input on three connections at once, and prints what they answer.
//!
//!     WALLET_KEY    the key, 64 hexadecimal digits
//!     SERVER_NAME   one of the pooler's ecdsa_server_names
//!     PGHOST, PGPORT, PGDATABASE
use std::env::var;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{eip191_hash_message, hex, Address, Signature};
use base64::{engine::general_purpose::URL_SAFE_NO_PAD, Engine};
use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};
use k256::ecdsa::SigningKey;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_postgres::{Client, Config, NoTls};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Wallet {
    key: SigningKey,
    config: Config,
}

impl Wallet {
    fn address(&self) -> Address {
        Address::from_private_key(&self.key)
    }

    /// A proof of format `bound`: good for this pooler and this database, for a minute.
    fn password(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let life: u64 = var("PROOF_LIFE").map_or(Ok(60), |text| text.parse())?;
        let mut nonce = [0u8; 12];
        getrandom::fill(&mut nonce)?;
        let text = [
            "PostgreSQL sign-in v1".to_string(),
            format!("server: {}", var("SERVER_NAME")?),
            format!("database: {}", var("PGDATABASE")?),
            format!("wallet: {}", self.address()),
            format!("issued: {now}"),
            format!("expires: {}", now + life),
            format!("nonce: {}", hex::encode(nonce)),
        ]
        .join("\n");
        let signed = self
            .key
            .sign_prehash_recoverable(eip191_hash_message(&text).as_slice())?;
        let signature = hex::encode(Signature::from(signed).as_bytes());
        Ok(format!(
            "bound:{}:{signature}",
            URL_SAFE_NO_PAD.encode(text)
        ))
    }
}

impl Manager for Wallet {
    type Type = Client;
    type Error = Box<dyn Error + Send + Sync>;

    /// Called for every connection that the pool opens.
    async fn create(&self) -> Result<Client> {
        let mut config = self.config.clone();
        config
            .user(self.address().to_string())
            .password(self.password()?);
        // Where the pooler is not on this machine: a connector of tokio-postgres-rustls or postgres-native-tls.
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<Self::Error> {
        if client.is_closed() {
            return Err(RecycleError::message("the connection has ended"));
        }
        Ok(())
    }
}

async fn run(pool: Pool<Wallet>, statement: String) -> Result<String> {
    let client = pool.get().await.map_err(|e| e.to_string())?;
    let rows = client.query(&statement, &[]).await?;
    Ok(rows.first().ok_or("no row")?.get::<_, i32>(0).to_string())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut config = Config::new();
    config
        .host(var("PGHOST")?)
        .port(var("PGPORT")?.parse()?)
        .dbname(var("PGDATABASE")?);
    let key = SigningKey::from_slice(&hex::decode(var("WALLET_KEY")?)?)?;
    let pool = Pool::builder(Wallet { key, config }).max_size(3).build()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let tasks: Vec<_> = (0..3)
            .map(|_| tokio::spawn(run(pool.clone(), line.clone())))
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await??);
        }
        println!("{}", answers.join(" "));
    }
    Ok(())
}
