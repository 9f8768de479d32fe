"""Documents and decisions: signing, policy, consent, log, provenance, evidence. Knows no tensor and no ciphertext."""
