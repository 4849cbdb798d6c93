/*
 * HikariCP, pgJDBC and web3j: a pool that signs for each connection.
 *
 * Runs every line of standard input on three connections at once, and prints what they answer.
 *
 *	WALLET_KEY    the key, 64 hexadecimal digits
 *	SERVER_NAME   one of the pooler's ecdsa_server_names
 *	PGHOST, PGPORT, PGDATABASE
 */
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.security.SecureRandom;
import java.sql.Connection;
import java.sql.ResultSet;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.StringJoiner;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.sql.DataSource;
import org.postgresql.plugin.AuthenticationPlugin;
import org.postgresql.plugin.AuthenticationRequestType;
import org.web3j.crypto.ECKeyPair;
import org.web3j.crypto.Keys;
import org.web3j.crypto.Sign;

public class WalletPool {
	private static final ECKeyPair KEY = ECKeyPair.create(new BigInteger(env("WALLET_KEY"), 16));
	private static final String ADDRESS = Keys.toChecksumAddress(Keys.getAddress(KEY));
	private static final SecureRandom RANDOM = new SecureRandom();

	/** pgJDBC asks it for every connection that is opened. */
	public static class Signer implements AuthenticationPlugin {
		@Override
		public char[] getPassword(AuthenticationRequestType type) {
			return type == AuthenticationRequestType.CLEARTEXT_PASSWORD ? password().toCharArray() : null;
		}
	}

	/** A proof of format "bound": good for this pooler and this database, for a minute. */
	private static String password() {
		long now = System.currentTimeMillis() / 1000;
		long life = Long.parseLong(System.getenv().getOrDefault("PROOF_LIFE", "60"));
		byte[] nonce = new byte[12];
		RANDOM.nextBytes(nonce);
		byte[] text = String.join("\n",
			"PostgreSQL sign-in v1",
			"server: " + env("SERVER_NAME"),
			"database: " + env("PGDATABASE"),
			"wallet: " + ADDRESS,
			"issued: " + now,
			"expires: " + (now + life),
			"nonce: " + HexFormat.of().formatHex(nonce)).getBytes();
		Sign.SignatureData s = Sign.signPrefixedMessage(text, KEY);
		HexFormat hex = HexFormat.of();
		return "bound:" + Base64.getUrlEncoder().encodeToString(text) + ":"
			+ hex.formatHex(s.getR()) + hex.formatHex(s.getS()) + hex.formatHex(s.getV());
	}

	private static String env(String name) {
		String value = System.getenv(name);
		if (value == null)
			throw new IllegalStateException(name + " is not set");
		return value;
	}

	private static HikariDataSource open() {
		HikariConfig config = new HikariConfig();
		config.setJdbcUrl("jdbc:postgresql://" + env("PGHOST") + ":" + env("PGPORT") + "/" + env("PGDATABASE"));
		config.setUsername(ADDRESS);
		config.addDataSourceProperty("authenticationPluginClassName", Signer.class.getName());
		// Where the pooler is not on this machine: sslmode verify-full.
		config.addDataSourceProperty("sslmode", System.getenv().getOrDefault("PGSSLMODE", "prefer"));
		config.setMinimumIdle(0);
		config.setMaximumPoolSize(3);
		return new HikariDataSource(config);
	}

	private static String run(DataSource pool, String statement) throws Exception {
		try (Connection c = pool.getConnection(); ResultSet r = c.createStatement().executeQuery(statement)) {
			r.next();
			return r.getString(1);
		}
	}

	public static void main(String[] args) throws Exception {
		ExecutorService threads = Executors.newFixedThreadPool(3);
		BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
		try (HikariDataSource pool = open()) {
			for (String line; (line = lines.readLine()) != null;) {
				String statement = line;
				List<Callable<String>> work = new ArrayList<>();
				for (int i = 0; i < 3; i++)
					work.add(() -> run(pool, statement));
				StringJoiner answers = new StringJoiner(" ");
				for (Future<String> one : threads.invokeAll(work))
					answers.add(one.get());
				System.out.println(answers);
			}
		} finally {
			threads.shutdown();
		}
	}
}
