"""Devices, and one seed split over several of them."""
