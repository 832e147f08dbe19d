package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/index/concept"
)

// Lesson is what a concept is learned from.
type Lesson struct {
	Name    string
	Text    string   // words that say it roughly; "" keeps those of the version before, if there is one
	Yes, No []string // paths of images that show it, and that do not
	Forget  bool     // start over, without the examples and the text of the version before
}

// maxExamples bounds a concept. More is a data set, for which infer probe and train are made.
const maxExamples = 10000

// Learn learns a concept, or a new version of one, from examples and text, and stores it. Examples
// are added to those of the version before; one that is judged again counts as it was judged last.
// encoder is asked as by [Index.Query]. Where the concept was learned with another model, its
// examples are read again.
func (ix *Index) Learn(ctx context.Context, l Lesson, encoder func(ctx context.Context) (clip.Encoder, error)) (Concept, error) {
	c, err := ix.lesson(ctx, l)
	if err != nil {
		return c, err
	}
	if err := ix.fit(ctx, &c, encoder); err != nil {
		return c, err
	}
	return c, ix.addConcept(ctx, &c)
}

// Try is Learn of examples that are not stored: a running query that is being refined.
func (ix *Index) Try(ctx context.Context, l Lesson, encoder func(ctx context.Context) (clip.Encoder, error)) (Concept, error) {
	l.Name, l.Forget = "unnamed", true
	c, err := ix.lesson(ctx, l)
	if err == nil {
		err = ix.fit(ctx, &c, encoder)
	}
	return c, err
}

// lesson is the next version with its examples, some of which may have no row yet.
func (ix *Index) lesson(ctx context.Context, l Lesson) (c Concept, err error) {
	if err := CheckConceptName(l.Name); err != nil {
		return c, err
	}
	info, err := ix.Info(ctx)
	if err != nil {
		return c, err
	}
	if !l.Forget {
		c, err = ix.Concept(ctx, l.Name)
		if err != nil && !errors.Is(err, ErrNoConcept) {
			return c, err
		}
	}
	if c.Weights != info.Model.Weights || c.Transform != info.Model.Transform {
		for i := range c.Examples {
			c.Examples[i].Row = nil
		}
	}
	c.Name, c.Learned = l.Name, time.Now().UTC().Truncate(time.Second)
	c.Weights, c.Transform = info.Model.Weights, info.Model.Transform
	if l.Text != "" {
		c.Text = l.Text
	}
	for i, path := range append(slices.Clone(l.Yes), l.No...) {
		at, err := inside(ix.root, path)
		if err != nil {
			return c, err
		}
		judged := Example{Path: at, Yes: i < len(l.Yes)}
		if judged.Yes && slices.Contains(l.No, path) {
			return c, fmt.Errorf("%s is both an example and a counterexample", path)
		}
		c.Examples = slices.DeleteFunc(c.Examples, func(e Example) bool { return e.Path == at })
		c.Examples = append(c.Examples, judged)
	}
	if yes, _ := c.Count(); yes == 0 {
		return c, fmt.Errorf("the concept %s has no image that shows it: at least one is needed", l.Name)
	}
	if len(c.Examples) > maxExamples {
		return c, fmt.Errorf("the concept %s has %d examples: at most %d", l.Name, len(c.Examples), maxExamples)
	}
	return c, nil
}

// fit computes the rows that are missing and the classifier.
func (ix *Index) fit(ctx context.Context, c *Concept, encoder func(ctx context.Context) (clip.Encoder, error)) error {
	var yes, no [][]float32
	for i := range c.Examples {
		e := &c.Examples[i]
		if e.Row == nil {
			row, err := ix.rowOf(ctx, Term{Image: outside(ix.root, e.Path)}, encoder)
			if err != nil {
				return err
			}
			e.Row = row
		}
		if e.Yes {
			yes = append(yes, e.Row)
		} else {
			no = append(no, e.Row)
		}
	}
	var text []float32
	if c.Text != "" {
		row, err := ix.rowOf(ctx, Term{Text: c.Text}, encoder)
		if err != nil {
			return err
		}
		text = row
	}
	space, err := ix.space(ctx)
	if err != nil {
		return err
	}
	f, err := space.Fit(text, yes, no)
	if err == nil {
		c.Row, c.Scale, c.Bias = f.Row, f.Scale, f.Bias
	}
	return err
}

// rowOf is the row of one term.
func (ix *Index) rowOf(ctx context.Context, t Term, encoder func(ctx context.Context) (clip.Encoder, error)) ([]float32, error) {
	t.Weight = 1
	return ix.Query(ctx, []Term{t}, encoder)
}

// spaceRows is how many rows measure the space of concepts.
const spaceRows = 2048

// space is measured on rows spread evenly over the index. It is kept until a commit changes the
// index.
func (ix *Index) space(ctx context.Context) (*concept.Space, error) {
	rows, generation, dim, err := ix.sample(ctx, spaceRows)
	if err != nil {
		return nil, err
	}
	ix.learning.Lock()
	defer ix.learning.Unlock()
	if ix.spread == nil || ix.spreadOf != generation {
		if ix.spread, err = concept.NewSpace(rows, dim); err != nil {
			return nil, err
		}
		ix.spreadOf = generation
	}
	return ix.spread, nil
}

// sample is up to n rows of live images, spread evenly over the index.
func (ix *Index) sample(ctx context.Context, n int) (rows [][]float32, generation, dim int, err error) {
	err = ix.read(ctx, func(tx *sql.Tx, st state, m *mapping) error {
		rows, generation, dim = nil, st.generation, st.model.EmbedDim
		live, err := slots(ctx, tx, ix.dir, st.rows, "SELECT slot FROM pictures ORDER BY slot")
		if err != nil {
			return err
		}
		count := min(n, len(live))
		for i := range count {
			rows = append(rows, slices.Clone(m.row(int(live[i*len(live)/count]))))
		}
		return nil
	})
	return rows, generation, dim, err
}

// Resolve replaces the texts of a query that are names of concepts, or NAME@VERSION, by the
// concepts.
func (ix *Index) Resolve(ctx context.Context, terms []Term) ([]Term, error) {
	terms = slices.Clone(terms)
	for i, t := range terms {
		if t.Text == "" {
			continue
		}
		c, err := ix.Concept(ctx, t.Text)
		switch {
		case err == nil:
			terms[i] = Term{Concept: fmt.Sprintf("%s@%d", c.Name, c.Version), Weight: t.Weight}
		case !errors.Is(err, ErrNoConcept):
			return nil, err
		}
	}
	return terms, nil
}

// conceptRow is the row of a concept that the index's model can use.
func (ix *Index) conceptRow(ctx context.Context, name string) ([]float32, error) {
	c, err := ix.Concept(ctx, name)
	if err != nil {
		return nil, err
	}
	info, err := ix.Info(ctx)
	if err == nil && (c.Weights != info.Model.Weights || c.Transform != info.Model.Transform) {
		err = fmt.Errorf("the concept %s was learned with another model than %s: %w", c.Name, info.Model.Name, ErrConceptModel)
	}
	return c.Row, err
}

// ErrConceptModel is inside the error for a concept of another model than the index has now.
var ErrConceptModel = errors.New("learn it again, which reads its examples with this model")

// Propose finds the k images whose answer would teach a concept most: of the images that it ranks
// highest and that nobody has judged, those about which it is least sure, by the logit nearest to 0
// (Lewis and Gale, "A sequential algorithm for training text classifiers", 1994).
func (ix *Index) Propose(ctx context.Context, c Concept, k int, f Filter) ([]Hit, error) {
	if k < 1 {
		return nil, fmt.Errorf("%d proposals: must be at least 1", k)
	}
	hits, err := ix.Search(ctx, c.Row, len(c.Examples)+max(8*k, 100), f)
	if err != nil {
		return nil, err
	}
	judged := map[string]bool{}
	for _, e := range c.Examples {
		judged[outside(ix.root, e.Path)] = true
	}
	open := slices.DeleteFunc(hits[0], func(h Hit) bool { return judged[h.Path] })
	logit := func(h Hit) float64 { return math.Abs(c.Scale*h.Score + c.Bias) }
	slices.SortStableFunc(open, func(a, b Hit) int {
		switch d := logit(a) - logit(b); {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
	return open[:min(k, len(open))], nil
}
