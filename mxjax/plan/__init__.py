"""`mxjax plan`: does a run fit a slice, and how fast can it be at best? Known before a chip is rented."""
