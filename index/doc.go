// Package index finds images by words or by an image: vectors on the disk, searched exactly.
//
// An index is a directory of four files:
//
//	pictures.db    SQLite in WAL mode: paths, sizes, dates, the model, and whose each row is
//	vectors-N.f32  64 bytes of header and float32 rows (rows, E), L2-normalised, mapped
//	codes-N.i8     64 bytes of header and the same rows in 8 bits a number, mapped
//	lock           locked by the one process that writes
//
// A search reads the codes, which are a quarter of the bytes, and then the vectors of the few rows
// that a bound on each code's error cannot exclude (package [scan]). Its answers are those of
// comparing every vector, to the bit, and where the codes are lost that is what it does.
//
// [Open] reads one and may be used from many goroutines while another process writes; [OpenWriter]
// adds and removes. In a directory with the name [DirName] paths are relative to the directory
// around it, which may then be moved with its images; in any other index they are absolute.
//
// # What a crash leaves
//
// [Writer.Commit] appends the vectors and their codes, syncs them, and then commits the rows of the database that
// refer to them, in one transaction, synced too. What was committed is safe; rows of the vectors
// beyond what the database knows are cut off by the next writer. No row is ever written over: a
// changed image gets a new one, and the old one is dead. When dead rows are many,
// [Writer.Compact] copies the others into vectors-N+1 and changes the database's mind in one
// transaction; a reader that still has the former file mapped continues with it.
//
// # The model
//
// Vectors of different models cannot be compared. An index holds the SHA-256 of its model's weights
// and of its config and preprocessing ([Model]), and [Model.Same] says in a sentence what does not
// agree. [UpdateOptions].Switch takes an index to another model: its vectors are made beside the
// present ones, in vectors-N+1 and in tables that no search reads, in as many sittings as it takes,
// and one transaction puts them in the place of the former ones. An [Index] that was opened before
// says [ErrSwitched] from then on.
package index
