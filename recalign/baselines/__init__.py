"""Systems to compare with, on the same split."""
