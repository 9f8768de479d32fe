"""The federation: studies, data, training, the gate, site, coordinator, engines, pilot, command line."""
