"""Who may ask what: certificates, the identities in them, the roles of every method, and the record of refusals."""
