package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"numa-agent/keyspace"
	"numa-agent/sampler"
)

// sample reads the target's heat from the source asked for.
func (a *Agent) sample(ctx context.Context, pageShift uint8) (*sampler.Sample, error) {
	ks, err := keyspace.Attach(ctx, a.target.PID, a.target.Info.Server, a.target.Info.Version)
	if err != nil {
		return nil, keyspaceError(err)
	}
	if a.cfg.Source == SourceFreq {
		freq := &sampler.Freq{Client: a.target.Client, Keyspace: ks, Estimator: a.estimator(), PageShift: pageShift, MaxShare: a.cfg.MaxRedisShare}
		s, err := freq.Sample(ctx, a.target.Info.Databases)
		return s, freqError(err)
	}
	memory := &sampler.Memory{Keyspace: ks, Estimator: a.estimator(), PageShift: pageShift}
	s, err := memory.Sample(ctx)
	return s, keyspaceError(err)
}

// estimator turns the target's access statistics into rates.
func (a *Agent) estimator() sampler.Estimator {
	info := a.target.Info
	return sampler.Estimator{LFU: info.LFU(), LogFactor: a.cfg.LogFactor, Decay: a.cfg.Decay, Age: info.Uptime, Now: time.Now()}
}

// freqError tells what failed in the server's memory from what failed on the
// connection.
func freqError(err error) error {
	for _, known := range []error{nil, fs.ErrPermission, keyspace.ErrProcessGone, keyspace.ErrUnsupportedLayout} {
		if errors.Is(err, known) {
			return keyspaceError(err)
		}
	}
	return serverError("sampling", err)
}

func keyspaceError(err error) error {
	if errors.Is(err, keyspace.ErrProcessGone) || errors.Is(err, keyspace.ErrUnsupportedLayout) {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	return err
}
