// postgres.js and viem: a pool that signs for each connection.
//
// Runs every line of standard input on three connections at once, and prints what they answer.
import { createInterface } from 'node:readline'
import postgres from 'postgres'
import { privateKeyToAccount } from 'viem/accounts'
import { env, proof } from './wallet.js'

const account = privateKeyToAccount(`0x${env('WALLET_KEY')}`)
const sql = postgres({
  // Host, port and database come from the environment.
  username: account.address,
  // Called for every connection that the pool opens.
  password: () => proof(account.address, (message) => account.signMessage({ message })),
  max: 3,
})

for await (const line of createInterface({ input: process.stdin })) {
  const rows = await Promise.all([1, 2, 3].map(() => sql.unsafe(line).values()))
  console.log(rows.map((r) => r[0]![0]).join(' '))
}
await sql.end()
