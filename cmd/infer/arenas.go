package main

/*
#include <malloc.h>
#include <stdlib.h>

// Every thread that computes fills an arena of malloc, and an arena gives little back: with several, a
// server grows by its busiest moment once for each of them. A limit holds only for threads that have no
// arena yet, hence before Go's runtime starts its own.
__attribute__((constructor)) static void one_arena(void) {
	if (getenv("MALLOC_ARENA_MAX") == NULL) mallopt(M_ARENA_MAX, 1);
}
*/
import "C"
