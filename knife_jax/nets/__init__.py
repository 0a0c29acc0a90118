"""Networks: the recurrent agent, graftable layers, their initialisers and wiring."""
