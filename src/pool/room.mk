# pool: filled in below as the room grows.
