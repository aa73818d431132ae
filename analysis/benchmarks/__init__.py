"""How fast and how accurate the library is: the numbers of the benchmarks page."""
