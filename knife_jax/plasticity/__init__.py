"""Plasticity methods: meter × select × rewrite × when."""
