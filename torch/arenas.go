package torch

/*
#include "../csrc/goclip.h"
*/
import "C"

// LimitArenas lets glibc's malloc keep n arenas at most, of the process's whole memory outside Go's.
// Its default is eight for each CPU, of which every thread that computes fills its own, and gives
// little back: a program that serves for long grows by what its busiest moments took, in each of
// them. It reports false where n is not taken. Call it before the first [Do].
func LimitArenas(n int) bool { return C.gc_set_arenas(C.int32_t(n)) != 0 }
