package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// volume is what is known of one, in `<id>.json` beside its data.
type volume struct {
	ID    string `json:"id"`
	Bytes int64  `json:"bytes"`
	Block bool   `json:"block"`
	// The node that has it attached; empty for none.
	Node string `json:"node"`
}

// store keeps volumes: a directory or, for devices, a file each.
type store struct {
	mu        sync.Mutex
	directory string
}

// Handles become names of files.
var validID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$`)

func openStore(directory string) (*store, error) {
	return &store{directory: directory}, os.MkdirAll(directory, 0o700)
}

func (s *store) data(id string) string   { return filepath.Join(s.directory, id+".data") }
func (s *store) record(id string) string { return filepath.Join(s.directory, id+".json") }

func (s *store) get(id string) (*volume, error) {
	if !validID.MatchString(id) {
		return nil, status.Error(codes.InvalidArgument, "no such name of a volume")
	}
	text, err := os.ReadFile(s.record(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, status.Errorf(codes.NotFound, "no volume %s", id)
	}
	if err != nil {
		return nil, err
	}
	var found volume
	return &found, json.Unmarshal(text, &found)
}

func (s *store) put(v *volume) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	next := s.record(v.ID) + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.record(v.ID))
}

// create makes a volume's data, then its record.
func (s *store) create(v *volume) error {
	if v.Block {
		file, err := os.OpenFile(s.data(v.ID), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := file.Truncate(v.Bytes); err != nil {
			return err
		}
	} else if err := os.MkdirAll(s.data(v.ID), 0o777); err != nil {
		return err
	}
	return s.put(v)
}

// remove forgets a volume and what it holds; one that is gone is no error.
func (s *store) remove(id string) error {
	if err := os.RemoveAll(s.data(id)); err != nil {
		return err
	}
	err := os.Remove(s.record(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// change alters a volume's record.
func (s *store) change(id string, alter func(*volume) error) (*volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := s.get(id)
	if err != nil {
		return nil, err
	}
	if err := alter(found); err != nil {
		return nil, err
	}
	return found, s.put(found)
}
