//go:build crash

package main

const (
	indexKills  = 200
	embedKills  = 200
	switchKills = 100
)
