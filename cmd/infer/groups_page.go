package main

import (
	"context"
	"fmt"
	"html/template"
	"io"

	"github.com/goclip/goclip/index"
	"github.com/goclip/goclip/internal/disk"
)

// groupsPage is what the template shows: groups of images, and how many do not fit on a page.
type groupsPage struct {
	Title  string
	Groups [][]*groupRow
	Beyond int // groups
}

// groupRow is an image. Its thumbnail is made while the page is written, so that memory holds one.
type groupRow struct {
	index.Hit
	First bool // of its group
	ctx   context.Context
	errs  io.Writer
}

// Thumbnail is empty where the file cannot be read any more.
func (r *groupRow) Thumbnail() (template.URL, error) {
	if err := r.ctx.Err(); err != nil {
		return "", err
	}
	url, err := thumbnailURL(r.Path)
	if err != nil {
		fmt.Fprintln(r.errs, message(err))
	}
	return url, nil
}

// Kilobytes returns the file's size, rounded up.
func (r *groupRow) Kilobytes() int64 { return (r.Size + 999) / 1000 }

// writeGroups writes a page of groups whole or not at all. Beyond maxImages images no group is
// begun.
func writeGroups(ctx context.Context, path, title string, groups [][]index.Hit, errs io.Writer) error {
	p, images := groupsPage{Title: title}, 0
	for i, g := range groups {
		if images += len(g); images > maxImages && i > 0 {
			p.Beyond = len(groups) - i
			break
		}
		var rows []*groupRow
		for j, h := range g {
			rows = append(rows, &groupRow{h, j == 0, ctx, errs})
		}
		p.Groups = append(p.Groups, rows)
	}
	out := newOutput(disk.Machine{}, path)
	files := outputs{out}
	defer files.discard()
	if out.err == nil {
		out.err = groupsTemplate.Execute(out.w, p)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return files.commit()
}

var groupsTemplate = template.Must(template.New("groups").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>goclip: {{.Title}}</title>
<style>
` + pageStyle + `body { max-width: 70rem }
.group { display: flex; flex-wrap: wrap; gap: .5rem; list-style: none; padding: 0; border-top: 1px solid #8884; padding-top: .5rem }
.group button { font: inherit; width: 10rem; padding: .25rem; border: 3px solid transparent; border-radius: .5rem; background: none; color: inherit; overflow-wrap: anywhere }
.group img { width: 9rem; height: 9rem; object-fit: contain; background: #fff; border-radius: .5rem }
.group button:focus-visible { outline: 3px solid #48f }
.group button[aria-pressed=true] { border-color: #c33 } .group button[aria-pressed=true] img { opacity: .4 }
textarea { width: 100%; height: 10rem; font: .9rem monospace }
</style>
<h1>{{.Title}}</h1>
<p>Arrow keys move, <kbd>x</kbd> or Space marks an image, <kbd>k</kbd> keeps it, <kbd>a</kbd> marks all of the group but this
one. Nothing is deleted: the list of marked paths is below, for a script.</p>
{{if .Beyond}}<p class="quiet">{{.Beyond}} more groups are not shown; the command prints all of them.</p>{{end}}
{{range .Groups}}<ul class="group">
{{range .}}<li><button type="button" aria-pressed="false" data-path="{{.Path}}">{{with .Thumbnail}}<img src="{{.}}" alt="">{{end}}<br>
{{.Path}}<br><span class="quiet">{{.Kilobytes}} kB{{if not .First}}, {{printf "%.3f" .Score}}{{end}}</span></button></li>
{{end}}</ul>
{{end}}
<h2><label for="marked">Marked: <span id="count">0</span></label></h2>
<textarea id="marked" readonly></textarea>
<p><button type="button" id="save">Save as marked.txt</button></p>
<script>
const images = [...document.querySelectorAll('button[data-path]')]
const list = document.getElementById('marked')
function mark(image, on) {
  image.setAttribute('aria-pressed', on)
  const marked = images.filter(i => i.getAttribute('aria-pressed') === 'true').map(i => i.dataset.path)
  document.getElementById('count').textContent = marked.length
  list.value = marked.map(path => path + '\n').join('')
}
for (const image of images) image.addEventListener('click', () => mark(image, image.getAttribute('aria-pressed') !== 'true'))
document.addEventListener('keydown', event => {
  const at = images.indexOf(document.activeElement)
  if (event.ctrlKey || event.metaKey || event.altKey || document.activeElement === list) return
  const move = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key]
  if (move && images.length) {
    images[at < 0 ? 0 : Math.min(Math.max(at + move, 0), images.length - 1)].focus()
    event.preventDefault()
  }
  if (at < 0) return
  if (event.key === 'x') mark(images[at], true)
  if (event.key === 'k') mark(images[at], false)
  if (event.key === 'a') for (const image of images)
    if (image.closest('ul') === images[at].closest('ul')) mark(image, image !== images[at])
})
document.getElementById('save').addEventListener('click', () => {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([list.value], {type: 'text/plain'}))
  link.download = 'marked.txt'
  link.click()
  URL.revokeObjectURL(link.href)
})
</script>
</html>
`))
