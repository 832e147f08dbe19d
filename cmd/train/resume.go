package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/goclip/goclip/train"
)

// changes are the flags that a resumed run may be given again, and what they say. The others say
// what the run learns, and stay.
var changes = []struct{ what, flags string }{
	{"how long it is", "epochs max-steps"},
	{"where it runs", "logs name device threads workers dist-url dist-backend cuda-graphs cache-dir"},
	{"what it is evaluated on", "val-data val-frequency imagenet-val zeroshot-frequency zeroshot-templates"},
	{"what it keeps", "save-frequency save-most-recent save-every-n-steps save-every-minutes delete-previous-checkpoint"},
	{"what it reports", "log-every-n-steps report-to metrics-addr"},
}

// silent are flags that may differ because nothing asks them again: what opens the model, and what
// a sitting does.
var silent = strings.Fields("resume dry-run overfit pretrained pretrained-image-path pretrained-text-path")

// ofTheSitting are the flags that a resumed run does not take over from its checkpoint.
var ofTheSitting = strings.Fields("resume logs name device threads dist-url dist-backend cache-dir dry-run overfit eval-only")

func changeable(flag string) bool {
	for _, c := range changes {
		if slices.Contains(strings.Fields(c.flags), flag) {
			return true
		}
	}
	return slices.Contains(silent, flag)
}

// resumes is the run or checkpoint that --resume names.
func (o *options) resumes() string {
	if o.Resume == "latest" {
		return filepath.Join(o.Logs, o.Name)
	}
	return o.Resume
}

// meantFor are the flags that say something about a resumed run: an environment that is there for
// all runs does not contradict what this one learns.
func meantFor(given func(flag string) bool, ambient []string) func(flag string) bool {
	return func(flag string) bool { return given(flag) && (changeable(flag) || !slices.Contains(ambient, flag)) }
}

// fromCheckpoint takes the flags that are not given from the checkpoint that the run resumes from.
func (o *options) fromCheckpoint(given func(flag string) bool) error {
	if o.Resume == "" || o.checkResume() != "" { // which check says
		return nil
	}
	settings, err := train.Settings(o.resumes())
	if err != nil || settings == nil {
		return err // what else is wrong, opening says
	}
	was, err := readFlags(settings)
	if err != nil {
		return err
	}
	now, before := reflect.ValueOf(o).Elem(), reflect.ValueOf(*was)
	for i := range now.NumField() {
		if flag := now.Type().Field(i).Tag.Get("name"); !given(flag) && !slices.Contains(ofTheSitting, flag) {
			now.Field(i).Set(before.Field(i))
		}
	}
	if given("epochs") && !given("max-steps") { // which would end the run before
		o.MaxSteps = 0
	}
	return nil
}

// readFlags reads the flags that a checkpoint keeps.
func readFlags(settings json.RawMessage) (*options, error) {
	var was options
	err := kong.ApplyDefaults(&was) // for the flags that a run of an earlier version did not know
	if err == nil {
		err = json.Unmarshal(settings, &was)
	}
	if err != nil {
		return nil, fmt.Errorf("train: --resume: the checkpoint's flags cannot be read: %w", err)
	}
	return &was, nil
}

// resuming refuses flags that would not continue the run of a checkpoint.
func (o *options) resuming(settings json.RawMessage, c *train.Config) error {
	if settings == nil {
		return errors.New("train: --resume: the run was started by a Go program, which must continue it")
	}
	was, err := readFlags(settings)
	if err != nil {
		return err
	}
	var differ []string
	now, before := reflect.ValueOf(*o), reflect.ValueOf(*was)
	for i := range now.NumField() {
		flag := now.Type().Field(i).Tag.Get("name")
		if a, b := now.Field(i).Interface(), before.Field(i).Interface(); !changeable(flag) && !reflect.DeepEqual(a, b) {
			differ = append(differ, fmt.Sprintf("--%s %v, not %v", flag, b, a))
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("train: --resume: the run was started with %s; %s; --pretrained %s begins a new run from its weights", strings.Join(differ, ", and "), mayChange(), o.resumes())
	}
	c.LR, c.WeightDecay = o.LR, meant(o.WD)
	o.tokenLR(c)
	return nil
}

// mayChange is what a refusal says of the flags that are left.
func mayChange() string {
	var groups []string
	for _, c := range changes {
		groups = append(groups, c.what+" (--"+strings.Join(strings.Fields(c.flags), ", --")+")")
	}
	return "a resumed run may change " + strings.Join(groups, ", ") + ", and nothing else"
}

// checkResume says what is wrong with --resume, or nothing.
func (o *options) checkResume() string {
	switch info, err := os.Stat(o.Resume); {
	case o.Resume != "" && o.dir() == "":
		return "--logs none keeps nothing that --resume could continue"
	case o.Resume == "latest" && o.Name == "":
		return "--resume latest must have --name: which run under " + o.Logs + " to resume"
	case o.Resume == "" || o.Resume == "latest" || err != nil || !info.Mode().IsRegular():
		return ""
	default:
		return fmt.Sprintf("--resume %s: must be a checkpoint directory of goclip's; --pretrained %s begins a run from a file's weights", o.Resume, o.Resume)
	}
}
