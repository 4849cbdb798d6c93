# config: filled in below as the room grows.
