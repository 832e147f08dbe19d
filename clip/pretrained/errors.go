package pretrained

import "errors"

// The sentinels that errors.Is finds in this package's errors.
var (
	ErrNotFound = errors.New("not found")                // no such model, tag, repository, revision or file
	ErrOffline  = errors.New("the network is forbidden") // a file is not on this machine and must not be fetched
	ErrChecksum = errors.New("wrong checksum")           // bytes are not those that were published
)

// marked is an error that is also one of the sentinels, whose words its own sentence does not need.
type marked struct {
	error
	as error
}

func (m marked) Is(target error) bool { return target == m.as }
func (m marked) Unwrap() error        { return m.error }
