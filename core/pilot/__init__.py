"""Sites and coordinator in one process, and the report on what they did."""
