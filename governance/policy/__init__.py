"""The policy language: clauses, requests, decisions."""
