# What belongs to no single room: system tests, fuzz corpus, benchmark.
