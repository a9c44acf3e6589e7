"""Exact curves, asymptotics, bounds and laws of gradient methods on power-law quadratics."""
