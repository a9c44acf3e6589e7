"""Test suite; flat on purpose, so that no test folder shadows a package."""
