// postgres.js with an ordinary password. One JSON line of findings.
import postgres from 'postgres'

const sql = postgres({
  host: '127.0.0.1', port: Number(process.env.PGPORT), database: 'db', username: process.env.PGUSER,
  password: process.env.SECRET, max: 4, connect_timeout: 15,
})
const out = {}
out.values = await Promise.all(Array.from({ length: 30 }, (_, i) => sql`select ${i}::int as v`.then((r) => r[0].v)))
out.error = await sql`select 1/0`.then(() => 'none', (e) => e.code)
out.simple = (await sql.unsafe('select 1 as a; select 2 as b')).length
await sql.end()
console.log(JSON.stringify(out))
