// Answers questions about merging with upstream's structured-merge-diff, for the tests of knarr's own.
//
// The first line of the input is a schema, every other one a question; there is one line of answer for each.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// One of the three.
type question struct {
	// Is this object of its type?
	Validate *object `json:"validate"`
	// What are these sets together?
	Sets []json.RawMessage `json:"sets"`
	// What becomes of an object and its managers?
	Steps []step `json:"steps"`
	// Who owned what before the first step.
	Managers map[string]manager `json:"managers"`
	// The object before the first step.
	Live object `json:"live"`
}

type object struct {
	Version string `json:"version"`
	Value   any    `json:"value"`
}

type step struct {
	Manager string `json:"manager"`
	// Else it is an update.
	Apply  bool     `json:"apply"`
	Force  bool     `json:"force"`
	Reset  []string `json:"reset"`
	Object object   `json:"object"`
}

type manager struct {
	Version string          `json:"version"`
	Applied bool            `json:"applied"`
	Set     json.RawMessage `json:"set"`
}

type state struct {
	Error    string             `json:"error"`
	Live     any                `json:"live"`
	Managers map[string]manager `json:"managers"`
}

// Fields that have another name in another version.
var renamed = map[string]map[string]string{
	"v1": {"beta": "alpha"},
	"v2": {"alpha": "beta"},
}

var errMissing = errors.New("no such version")

type converter struct{ parser *typed.Parser }

func (c converter) Convert(object *typed.TypedValue, version fieldpath.APIVersion) (*typed.TypedValue, error) {
	names, ok := renamed[string(version)]
	if !ok {
		return nil, errMissing
	}
	if *object.TypeRef().NamedType == string(version) {
		return object, nil
	}
	converted := map[string]any{}
	if before, ok := object.AsValue().Unstructured().(map[string]any); ok {
		for name, value := range before {
			if other, ok := names[name]; ok {
				name = other
			}
			converted[name] = value
		}
	}
	return c.parser.Type(string(version)).FromUnstructured(converted, typed.AllowDuplicates)
}

func (c converter) IsMissingVersionError(err error) bool { return errors.Is(err, errMissing) }

func (c converter) typed(o object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	return c.parser.Type(o.Version).FromUnstructured(o.Value, options...)
}

func set(raw json.RawMessage) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	return set, set.FromJSON(strings.NewReader(string(raw)))
}

func raw(set *fieldpath.Set) json.RawMessage {
	text, err := set.ToJSON()
	if err != nil {
		log.Fatal(err)
	}
	return text
}

// Sets of two, in the order: union, intersection, difference, recursive difference. Then the paths of the first.
func sets(texts []json.RawMessage) any {
	var both []*fieldpath.Set
	for _, text := range texts {
		one, err := set(text)
		if err != nil {
			return "malformed"
		}
		both = append(both, one)
	}
	a, b := both[0], both[1]
	paths := []string{}
	a.Iterate(func(path fieldpath.Path) { paths = append(paths, path.String()) })
	return []any{raw(a.Union(b)), raw(a.Intersection(b)), raw(a.Difference(b)), raw(a.RecursiveDifference(b)), paths}
}

func (c converter) steps(q question) ([]state, error) {
	live, err := c.typed(q.Live, typed.AllowDuplicates)
	if err != nil {
		return nil, err
	}
	managers := fieldpath.ManagedFields{}
	for name, m := range q.Managers {
		owned, err := set(m.Set)
		if err != nil {
			return nil, err
		}
		managers[name] = fieldpath.NewVersionedSet(owned, fieldpath.APIVersion(m.Version), m.Applied)
	}
	answers := []state{}
	for _, step := range q.Steps {
		newLive, newManagers, err := c.step(step, live, managers.Copy())
		if err == nil {
			live, managers = newLive, newManagers
		}
		answers = append(answers, describe(live, managers, err))
	}
	return answers, nil
}

func (c converter) step(s step, live *typed.TypedValue, managers fieldpath.ManagedFields) (*typed.TypedValue, fieldpath.ManagedFields, error) {
	version := fieldpath.APIVersion(s.Object.Version)
	live, err := c.Convert(live, version)
	if err != nil {
		return nil, nil, err
	}
	builder := merge.UpdaterBuilder{Converter: c, ReturnInputOnNoop: true}
	if len(s.Reset) > 0 {
		reset := fieldpath.NewSet()
		for _, name := range s.Reset {
			reset.Insert(fieldpath.MakePathOrDie(name))
		}
		filter := fieldpath.NewExcludeSetFilter(reset)
		builder.IgnoreFilter = map[fieldpath.APIVersion]fieldpath.Filter{"v1": filter, "v2": filter}
	}
	updater := builder.BuildUpdater()
	if s.Apply {
		config, err := c.typed(s.Object)
		if err != nil {
			return nil, nil, fmt.Errorf("typed: %w", err)
		}
		return updater.Apply(live, config, version, managers, s.Manager, s.Force)
	}
	object, err := c.typed(s.Object, typed.AllowDuplicates)
	if err != nil {
		return nil, nil, fmt.Errorf("typed: %w", err)
	}
	// As the API server does it: what a manager had and what it has now.
	const now = "current-operation"
	object, managers, err = updater.Update(live, object, version, managers, now)
	if err != nil {
		return nil, nil, err
	}
	if owned, ok := managers[now]; ok {
		delete(managers, now)
		all := owned.Set()
		if before, ok := managers[s.Manager]; ok {
			all = all.Union(before.Set())
		}
		managers[s.Manager] = fieldpath.NewVersionedSet(all, version, false)
	}
	return object, managers, nil
}

func describe(live *typed.TypedValue, managers fieldpath.ManagedFields, err error) state {
	described := state{Live: live.AsValue().Unstructured(), Managers: map[string]manager{}}
	for name, owned := range managers {
		described.Managers[name] = manager{string(owned.APIVersion()), owned.Applied(), raw(owned.Set())}
	}
	var conflicts merge.Conflicts
	switch {
	case errors.As(err, &conflicts):
		lines := []string{}
		for _, conflict := range conflicts {
			lines = append(lines, conflict.Error())
		}
		sort.Strings(lines)
		described.Error = strings.Join(lines, "\n")
	case err != nil:
		described.Error = "failed"
	}
	return described
}

func (c converter) answer(q question) any {
	switch {
	case q.Validate != nil:
		if _, err := c.typed(*q.Validate); err != nil {
			return err.Error()
		}
		return ""
	case len(q.Sets) == 2:
		return sets(q.Sets)
	default:
		states, err := c.steps(q)
		if err != nil {
			return err.Error()
		}
		return states
	}
}

// As the API server reads JSON: whole numbers are integers.
func decode(line string, into any) {
	if err := json.Unmarshal([]byte(line), into); err != nil {
		log.Fatal(err)
	}
}

func whole(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = whole(v[name])
		}
	}
	return v
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	schema, err := in.ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	parser, err := typed.NewParser(typed.YAMLObject(schema))
	if err != nil {
		log.Fatal(err)
	}
	// Without HTML's escapes: sets are compared as JSON.
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		var q question
		decode(line, &q)
		q.Live.Value = whole(q.Live.Value)
		if q.Validate != nil {
			q.Validate.Value = whole(q.Validate.Value)
		}
		for i := range q.Steps {
			q.Steps[i].Object.Value = whole(q.Steps[i].Object.Value)
		}
		if err := encoder.Encode(converter{parser}.answer(q)); err != nil {
			log.Fatal(err)
		}
	}
}
