package index

import (
	"context"
	"strings"
	"time"
)

// Filter narrows a search. The zero value lets every image pass.
type Filter struct {
	Folder           string    // images in it or below it
	Since, Until     time.Time // when the images were taken, by EXIF, or else of the files' last change: from Since on, before Until
	MinSize, MaxSize int64     // bytes of the file; 0 for no bound
}

// slots are the vectors of the images that pass, nil for all that are not dead.
func (f Filter) slots(ctx context.Context, q querier, dir, root string, st state) ([]int64, error) {
	if f == (Filter{}) {
		return nil, nil
	}
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	if f.Folder != "" {
		folder, err := inside(root, f.Folder)
		if err != nil {
			return nil, err
		}
		condition, values := within(folder)
		add(condition, values...)
	}
	if !f.Since.IsZero() {
		add(st.date()+" >= ?", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		add(st.date()+" < ?", f.Until.UnixNano())
	}
	if f.MinSize > 0 {
		add("size >= ?", f.MinSize)
	}
	if f.MaxSize > 0 {
		add("size <= ?", f.MaxSize)
	}
	return slots(ctx, q, dir, st.rows, "SELECT slot FROM pictures WHERE "+strings.Join(where, " AND ")+" ORDER BY slot", args...)
}
