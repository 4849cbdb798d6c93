// A wallet signs in to PostgreSQL through pg-ecdsa-proxy: postgres.js speaks to it, viem signs.
//
//   PRIVATE_KEY   of the wallet: 0x and 64 hex digits
//   PGHOST, PGPORT, PGDATABASE   where; without them what compose.yaml of this repository publishes
import postgres from 'postgres'
import { type Hex, isHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

function privateKey(): Hex {
  const key = process.env.PRIVATE_KEY
  if (!isHex(key) || key.length !== 66) throw new Error('PRIVATE_KEY must be 0x and 64 hex digits')
  return key
}

async function main() {
  const account = privateKeyToAccount(privateKey())

  // The password is the time and the wallet's signature of it. As a function it is asked for each connection that the
  // driver opens, so none of them signs in with a proof that has expired.
  const password = async () => {
    const timestamp = Math.floor(Date.now() / 1000).toString()
    return `${timestamp}:${await account.signMessage({ message: timestamp })}`
  }

  const sql = postgres({
    host: process.env.PGHOST ?? 'localhost',
    port: Number(process.env.PGPORT ?? 5434),
    database: process.env.PGDATABASE ?? 'postgres',
    user: account.address,
    password,
    max: 3,
    connect_timeout: 15,
    onnotice: () => {},
  })

  try {
    const [me] = await sql`
      SELECT current_user AS role, current_setting('application_name') AS application, version() AS version`
    console.log(`wallet       ${account.address}`)
    console.log(`role         ${me?.role}`)
    console.log(`application  ${me?.application}`)
    console.log(`server       ${me?.version}`)

    await sql`CREATE TABLE IF NOT EXISTS example_notes (
      id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, author text NOT NULL, note text NOT NULL)`
    const note = await sql.begin(async (tx) => {
      const [row] = await tx`
        INSERT INTO example_notes (author, note) VALUES (${account.address}, ${'written by a wallet'}) RETURNING id, note`
      return row
    })
    console.log(`note ${note?.id}       ${note?.note}`)
    const [all] = await sql`SELECT count(*)::int AS n FROM example_notes WHERE author = ${account.address}`
    console.log(`notes        ${all?.n} by this wallet`)
  } finally {
    await sql.end({ timeout: 5 })
  }
}

main().catch((e: Error & { code?: string }) => {
  console.error(e.code ? `${e.code}: ${e.message}` : e.message)
  if (e.code === '28P01') console.error('Is this wallet the ALLOWED_ADDRESS, and is the clock right? The log says why.')
  process.exitCode = 1
})
