//go:build !crash

package main

// indexKills is how often TestIndexKilled kills infer index; make crash kills it 200 times.
const indexKills = 6
