"""Networks: the recurrent agent, hypernetworks, graftable layers and their wiring."""
