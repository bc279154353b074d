"""The wire contract, `graft.proto`, and what is generated from it (`nox -s generated`)."""
