//go:build !crash

package main

// killings is how often TestKilled kills runs with a number of libtorch's threads; make crash kills
// more.
var killings = []struct{ threads, kills int }{{1, 10}}
