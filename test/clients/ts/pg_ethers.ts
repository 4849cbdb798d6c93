// node-postgres and ethers: a pool that signs for each connection.
//
// Runs every line of standard input on three connections at once, and prints what they answer.
import { createInterface } from 'node:readline'
import { Wallet } from 'ethers'
import pg from 'pg'
import { env, proof } from './wallet.js'

const wallet = new Wallet(env('WALLET_KEY'))
const pool = new pg.Pool({
  // Host, port and database come from the environment.
  user: wallet.address,
  // Called for every connection that the pool opens.
  password: () => proof(wallet.address, (text) => wallet.signMessage(text)),
  max: 3,
})
// A connection that ends while nobody uses it is taken out of the pool; unheard, this ends the program.
pool.on('error', (e) => console.error(`an idle connection has ended: ${e.message}`))

for await (const line of createInterface({ input: process.stdin })) {
  const results = await Promise.all([1, 2, 3].map(() => pool.query({ text: line, rowMode: 'array' })))
  console.log(results.map((r) => r.rows[0]![0]).join(' '))
}
await pool.end()
