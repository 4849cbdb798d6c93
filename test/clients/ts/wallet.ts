// A wallet that signs in: its address is the user name, a fresh proof the password.
//
//   WALLET_KEY    the key, 64 hexadecimal digits
//   SERVER_NAME   one of the pooler's ecdsa_server_names
//   PGDATABASE    the database that the proof is for
import { randomBytes } from 'node:crypto'

export function env(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

/** A proof of format `bound`: good for this pooler and this database, for a minute. */
export async function proof(address: string, sign: (text: string) => Promise<string>): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const text = [
    'PostgreSQL sign-in v1',
    `server: ${env('SERVER_NAME')}`,
    `database: ${env('PGDATABASE')}`,
    `wallet: ${address}`,
    `issued: ${now}`,
    `expires: ${now + Number(process.env.PROOF_LIFE ?? 60)}`,
    `nonce: ${randomBytes(12).toString('hex')}`,
  ].join('\n')
  return `bound:${Buffer.from(text).toString('base64url')}:${await sign(text)}`
}
