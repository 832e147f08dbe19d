//go:build !crash

package main

// How often TestIndexKilled and TestEmbedKilled kill infer; make crash kills it 200 times.
const (
	indexKills = 6
	embedKills = 6
)
