// A wallet signs in with postgres.js; viem signs. One JSON line of findings.
//   PGPORT  port of the pooler on 127.0.0.1    KEY  0x and 64 hex digits    WANT  a statement to try
import postgres from 'postgres'
import { privateKeyToAccount } from 'viem/accounts'

const account = privateKeyToAccount(process.env.KEY)
const sign = async (at) => `${at}:${await account.signMessage({ message: String(at) })}`
const now = () => Math.floor(Date.now() / 1000)
const connect = (password, more) => postgres({
  host: '127.0.0.1', port: Number(process.env.PGPORT), database: 'db',
  username: account.address, password, max: 4, connect_timeout: 15, idle_timeout: 5, ...more,
})

const out = { address: account.address }

// A password function: each connection of the driver's pool signs for itself.
let signed = 0
const sql = connect(() => { signed++; return sign(now()) })
out.values = await Promise.all(Array.from({ length: 20 }, (_, i) =>
  sql`select ${i}::int as v, current_user as who, current_setting('application_name') as app`.then((r) => r[0])))
out.transaction = await sql.begin(async (tx) => {
  await tx`create temp table t (a int, b text) on commit drop`
  await tx`insert into t ${tx([{ a: 1, b: 'one' }, { a: 2, b: 'two' }])}`
  return (await tx`select count(*)::int as n from t`)[0].n
})
out.rows = (await sql`select g, repeat('x', 100) as text from generate_series(1, 5000) g`).length
out.signed = signed
await sql.end()

// A stale proof is refused with the code that drivers know as a wrong password.
const stale = connect(await sign(now() - 3600), { max: 1 })
out.stale = await stale`select 1`.then(() => 'accepted', (e) => e.code)
await stale.end({ timeout: 1 })

// The pitfall: milliseconds.
const millis = connect(await sign(Date.now()), { max: 1 })
out.millis = await millis`select 1`.then(() => 'accepted', (e) => e.code)
await millis.end({ timeout: 1 })

console.log(JSON.stringify(out))
