// Package step tells of a client's steps on standard output, in the protocol of xtask/src/clients/report.rs.
package step

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Limit is how long a step may take.
const Limit = 60 * time.Second

// Step is something that is tried: its name is one word.
type Step struct {
	Name string
	Run  func(context.Context) error
}

type skipped struct{ error }

// Skip says why a step cannot be tried here.
func Skip(reason string) error { return skipped{errors.New(reason)} }

// Main runs every step, whatever became of those before it.
func Main(steps ...Step) {
	for _, step := range steps {
		fmt.Println("plan", step.Name)
	}
	for _, step := range steps {
		started := time.Now()
		err := try(step)
		seconds := time.Since(started).Seconds()
		var skip skipped
		switch {
		case err == nil:
			fmt.Printf("ok %s %.2f\n", step.Name, seconds)
		case errors.As(err, &skip):
			fmt.Println("skip", step.Name, skip)
		default:
			fmt.Printf("fail %s %.2f %s\n", step.Name, seconds, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
}

// try gives up on a step that does not heed its context.
func try(step Step) error {
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if fault := recover(); fault != nil {
				done <- fmt.Errorf("panic: %v", fault)
			}
		}()
		done <- step.Run(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(Limit + 5*time.Second):
		return fmt.Errorf("not done after %s", Limit)
	}
}

// Restart has the cluster restarted; false where it cannot be.
func Restart() bool {
	fmt.Println("restart")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.TrimSpace(answer) == "restarted"
}

// Eventually calls look until it gives no error; after the context's end the last one.
func Eventually(ctx context.Context, look func(context.Context) error) error {
	for {
		err := look(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("in vain: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Want is an error unless found is what is wanted.
func Want[T comparable](what string, found, wanted T) error {
	if found != wanted {
		return fmt.Errorf("%s is %v, not %v", what, found, wanted)
	}
	return nil
}
