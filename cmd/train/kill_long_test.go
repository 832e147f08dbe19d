//go:build crash

package main

var killings = []struct{ threads, kills int }{{1, 180}, {2, 20}}
