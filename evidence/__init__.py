"""What an outsider needs to check Lacuna's evidence: standard cryptography only, no server, no database, no torch."""
