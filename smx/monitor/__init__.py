"""How runs stand: status, why, cost, differences, items."""
