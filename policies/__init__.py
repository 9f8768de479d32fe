"""Policy data shipped with Sekisho: terms, templates, law, licences."""
