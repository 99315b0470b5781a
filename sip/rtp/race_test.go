//go:build race

package rtp

const raceDetector = true
