// pgx and go-ethereum: a pool that signs for each connection.
//
// Runs every line of standard input on three connections at once, and prints what they answer.
//
//	WALLET_KEY    the key, 64 hexadecimal digits
//	SERVER_NAME   one of the pooler's ecdsa_server_names
//	PGHOST, PGPORT, PGDATABASE, PGSSLMODE, PGSSLROOTCERT   as libpq has them
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// password makes a proof of format "bound": good for this pooler and this database, for as long as life.
func password(key *ecdsa.PrivateKey, server, database string, life time.Duration) (string, error) {
	nonce := make([]byte, 12)
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	now := time.Now()
	text := strings.Join([]string{
		"PostgreSQL sign-in v1",
		"server: " + server,
		"database: " + database,
		"wallet: " + crypto.PubkeyToAddress(key.PublicKey).Hex(),
		fmt.Sprintf("issued: %d", now.Unix()),
		fmt.Sprintf("expires: %d", now.Add(life).Unix()),
		fmt.Sprintf("nonce: %x", nonce),
	}, "\n")
	// What accounts.TextHash does; that package brings half a node along.
	hash := crypto.Keccak256([]byte(fmt.Sprintf("\x19Ethereum Signed Message:\n%d%s", len(text), text)))
	signature, err := crypto.Sign(hash, key)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("bound:%s:%x", base64.RawURLEncoding.EncodeToString([]byte(text)), signature), nil
}

func open(ctx context.Context) (*pgxpool.Pool, error) {
	key, err := crypto.HexToECDSA(os.Getenv("WALLET_KEY"))
	if err != nil {
		return nil, fmt.Errorf("WALLET_KEY: %w", err)
	}
	life := time.Minute
	if seconds := os.Getenv("PROOF_LIFE"); seconds != "" {
		if life, err = time.ParseDuration(seconds + "s"); err != nil {
			return nil, fmt.Errorf("PROOF_LIFE: %w", err)
		}
	}
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	config.MaxConns = 3
	config.ConnConfig.User = crypto.PubkeyToAddress(key.PublicKey).Hex()
	// Called for every connection that the pool opens.
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) (err error) {
		c.Password, err = password(key, os.Getenv("SERVER_NAME"), c.Database, life)
		return err
	}
	return pgxpool.NewWithConfig(ctx, config)
}

func main() {
	ctx := context.Background()
	pool, err := open(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var answers [3]int
		var all sync.WaitGroup
		for i := range answers {
			all.Add(1)
			go func() {
				defer all.Done()
				if err := pool.QueryRow(ctx, lines.Text()).Scan(&answers[i]); err != nil {
					log.Fatal(err)
				}
			}()
		}
		all.Wait()
		fmt.Println(answers[0], answers[1], answers[2])
	}
}
