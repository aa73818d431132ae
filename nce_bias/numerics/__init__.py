"""The numerical methods: no label, no loss in here."""
