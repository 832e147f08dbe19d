// Package heap prepares glibc's malloc for the programs that import it.
package heap

/*
#cgo LDFLAGS: -pthread
#define _DEFAULT_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 // Linux 5.14
#endif

enum { MiB = 1 << 20, first_size = 52 * MiB };

static void *touch(void *first) {
	for (size_t at = 0; at < first_size; at += 4 * MiB) { // a longer piece would hold up who maps memory meanwhile
		if (madvise((char *)first + at, 4 * MiB, MADV_POPULATE_WRITE) != 0) break;
	}
	return NULL;
}

// libtorch allocates 52 MB in small pieces before main, which is 13,000 page faults. A second thread is ahead of them, which
// saves an eighth of that time.
static void touch_ahead(void) {
	mallopt(M_MMAP_THRESHOLD, 32 * MiB); // M_TOP_PAD ends malloc's own search for these: here is where it would end
	mallopt(M_TRIM_THRESHOLD, 64 * MiB);
	mallopt(M_TOP_PAD, first_size);
	void *volatile piece = malloc(1); // volatile, or the compiler leaves it out
	mallopt(M_TOP_PAD, MiB);
	const uintptr_t page = sysconf(_SC_PAGESIZE), first = (uintptr_t)piece / page * page;
	pthread_t thread;
	if (piece != NULL && first + first_size <= (uintptr_t)sbrk(0) && pthread_create(&thread, NULL, touch, (void *)first) == 0) {
		pthread_detach(thread);
	}
	free(piece);
}

// preinit_array alone comes before the constructors of shared libraries.
__attribute__((section(".preinit_array"), used)) static void (*const before_libraries)(void) = touch_ahead;

// Every thread that computes fills an arena of malloc, and an arena gives little back: with several, a
// server grows by its busiest moment once for each of them. A limit holds only for threads that have no
// arena yet, hence before Go's runtime starts its own.
__attribute__((constructor)) static void one_arena(void) {
	if (getenv("MALLOC_ARENA_MAX") == NULL) mallopt(M_ARENA_MAX, 1);
}
*/
import "C"
