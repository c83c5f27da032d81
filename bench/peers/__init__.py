"""Small programs of our own that ingest is compared with. They read `BENCH_*` and `*_URL`."""
