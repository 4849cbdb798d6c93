"""What the system tests stand on: a private PostgreSQL, our pooler, a raw
wire client, a scripted server, a wallet.  Tests import from the modules."""
