//go:build !crash

package main

// How often TestIndexKilled, TestEmbedKilled and TestSwitchKilled kill infer; make crash kills it
// 200, 200 and 100 times.
const (
	indexKills  = 6
	embedKills  = 6
	switchKills = 4
)
