"""What a third party can verify without us."""
