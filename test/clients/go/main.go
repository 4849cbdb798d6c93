// Asks the console by database/sql and lib/pq, as exporters written in Go do,
// and prints what came as JSON: columns, and rows with the Go type of each value.
package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"

	_ "github.com/lib/pq"
)

type answer struct {
	Columns []string
	Kinds   []string
	Rows    [][]string
	Types   [][]string
}

func ask(db *sql.DB, command string) (answer, error) {
	var a answer
	rows, err := db.Query(command)
	if err != nil {
		return a, err
	}
	defer rows.Close()
	if a.Columns, err = rows.Columns(); err != nil {
		return a, err
	}
	kinds, err := rows.ColumnTypes()
	if err != nil {
		return a, err
	}
	for _, k := range kinds {
		a.Kinds = append(a.Kinds, k.DatabaseTypeName())
	}
	for rows.Next() {
		values := make([]any, len(a.Columns))
		places := make([]any, len(values))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			return a, err
		}
		var texts, types []string
		for _, v := range values {
			types = append(types, fmt.Sprintf("%T", v))
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			texts = append(texts, fmt.Sprint(v))
		}
		a.Rows, a.Types = append(a.Rows, texts), append(a.Types, types)
	}
	return a, rows.Err()
}

func main() {
	db, err := sql.Open("postgres", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	db.SetMaxOpenConns(1)
	answers := map[string]answer{}
	for _, command := range os.Args[2:] {
		if answers[command], err = ask(db, command); err != nil {
			fmt.Fprintln(os.Stderr, command+": "+err.Error())
			os.Exit(1)
		}
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}
